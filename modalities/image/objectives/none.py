"""No objective: what dvc.yaml names where no task trains one beside (`auxiliary: none`)."""

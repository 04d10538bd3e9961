"""The doors: the command line and the Prefect flow, both derived from dvc.yaml."""

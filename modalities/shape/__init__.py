"""3D shapes as a modality: its two halves are `reading` and `network`."""

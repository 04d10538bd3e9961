"""Images as a modality: its two halves are `reading` and `network`."""

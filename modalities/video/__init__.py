"""Clips as a modality: its two halves are `reading` and `network`.

A clip is frames with their sound. What is learnt from them is an encoder of pictures, so encoders,
views and tasks are those of `modalities.image`; a full video modality adds its own beside these.
"""

"""What can be in the Playroom, and how it looks: toys, their materials, scenes, ray casting."""

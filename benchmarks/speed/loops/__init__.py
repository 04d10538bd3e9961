"""Training loops to time against one another: the bare step, ours, lightly's."""

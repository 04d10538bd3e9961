"""What tasks that say where (detection, segmentation, keypoints) have in common."""

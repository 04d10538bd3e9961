"""What the page draws itself: charts, thumbnails, the map of features."""

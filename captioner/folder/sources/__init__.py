"""Sources of photos: folders, lists, tar archives, object stores."""

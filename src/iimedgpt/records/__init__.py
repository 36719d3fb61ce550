"""Records: read, de-identify, and lay out as timelines."""

"""Six clinical tasks, each asked at one point of a record's timeline."""

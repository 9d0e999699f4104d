"""Jobs: what tasks and plugins want to be run on schedule, and every run of them."""

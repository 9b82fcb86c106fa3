"""What a device lacks, and what to do about it."""

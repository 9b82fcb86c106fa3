"""One page and one terminal table from the records of finished runs."""

"""The page of an audit, for a reviewer."""

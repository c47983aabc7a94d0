"""The page of likely label errors."""

"""The process that decodes pictures: confined, without credentials or network."""

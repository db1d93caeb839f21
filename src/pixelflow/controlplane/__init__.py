"""Everything that needs no pixels: the API, and the loops that keep jobs moving."""

"""Data: .beton files, what writes them, and the FFCV <-> Lightning loader that reads them."""

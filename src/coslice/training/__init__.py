"""How priors are made: from a folder of scans to weights with a card."""

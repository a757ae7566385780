"""What the scripts that reproduce the papers' figures and tables share."""

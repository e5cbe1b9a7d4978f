"""Identity network and expression branch trained together, for the rows of the paper's Table 8."""

"""The paper's Figure 6: photos, and the heads that several methods make of them, side by side."""

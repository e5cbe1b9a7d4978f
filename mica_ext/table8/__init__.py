"""The paper's Table 8: model packs on the NoW validation set, both protocols."""

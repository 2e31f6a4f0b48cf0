"""Published numbers: claims to verify, and the ways of counting that explain a number."""

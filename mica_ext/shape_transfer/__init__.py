"""Expression shapes carried from a head that has ARKit's to any other (Sumner and Popovic 2004)."""

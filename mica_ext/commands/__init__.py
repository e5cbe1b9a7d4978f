"""The commands' options, output plans and reports."""

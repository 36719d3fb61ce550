"""The report: figures, HTML and Markdown."""

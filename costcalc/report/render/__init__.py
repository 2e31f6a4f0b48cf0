"""Renderers: a document as text, Markdown, LaTeX, CSV or JSON."""

"""Views: from results to documents, one module a command."""

"""How a model is trained by clients and a server: plans, protocols as rows, averages, and draws from counters."""

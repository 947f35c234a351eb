"""Task graphs: which task of a job graph runs on which device, and when."""

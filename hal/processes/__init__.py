"""The processes of a run: started, brought together, told what to do, and ended."""

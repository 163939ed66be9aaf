"""The OpenAI Realtime protocol in both dialects, GA and beta: JSON text to client events, notices to server events.

One codec; what differs between the dialects is data (`dialect`, the tables in `fields`, `server_events`).
"""

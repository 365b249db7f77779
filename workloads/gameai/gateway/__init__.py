"""The gateway: NPCs' questions in, answers in time out."""

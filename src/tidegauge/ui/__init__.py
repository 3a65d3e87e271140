"""The pages: server-rendered, stateless."""

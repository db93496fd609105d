-- ARGV: session
return session_row(ARGV[1])

-- ARGV: identity
return identity_row(ARGV[1])

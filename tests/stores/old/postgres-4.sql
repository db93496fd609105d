CREATE SCHEMA agent_auth;
CREATE TABLE agent_auth.authorization_lookups (
    lookup bytea NOT NULL,
    request text NOT NULL,
    CONSTRAINT authorization_lookups_lookup_check CHECK ((length(lookup) = 32))
);
CREATE TABLE agent_auth.authorization_requests (
    seq bigint NOT NULL,
    id text NOT NULL,
    resource text NOT NULL,
    flow text NOT NULL,
    client_name text NOT NULL,
    client_label text,
    client_kind text,
    client_instance text,
    client_address text,
    client_method text,
    source text,
    requested text NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    account_id text,
    account_label bytea,
    state text NOT NULL,
    granted text,
    failed_attempts bigint DEFAULT 0 NOT NULL,
    client_id text,
    client_claims text,
    lasting bigint,
    CONSTRAINT authorization_requests_check CHECK (((account_id IS NULL) = (account_label IS NULL))),
    CONSTRAINT authorization_requests_check1 CHECK (((granted IS NOT NULL) = (state = ANY (ARRAY['approved'::text, 'redeemed'::text])))),
    CONSTRAINT authorization_requests_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'approved'::text, 'denied'::text, 'redeemed'::text, 'revoked'::text, 'locked'::text])))
);
ALTER TABLE agent_auth.authorization_requests ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME agent_auth.authorization_requests_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE agent_auth.client_counts (
    id bigint NOT NULL,
    unused bigint NOT NULL,
    CONSTRAINT client_counts_id_check CHECK ((id = 1)),
    CONSTRAINT client_counts_unused_check CHECK ((unused >= 0))
);
CREATE TABLE agent_auth.clients (
    id text NOT NULL,
    metadata text NOT NULL,
    created_at bigint NOT NULL,
    used_at bigint
);
CREATE TABLE agent_auth.migrations (
    version bigint NOT NULL,
    done_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE agent_auth.refresh_tokens (
    refresh bytea NOT NULL,
    session text NOT NULL,
    generation bigint NOT NULL,
    ends_at bigint NOT NULL,
    CONSTRAINT refresh_tokens_refresh_check CHECK ((length(refresh) = 32))
);
CREATE TABLE agent_auth.sessions (
    seq bigint NOT NULL,
    id text NOT NULL,
    request text NOT NULL,
    access bytea NOT NULL,
    resource text NOT NULL,
    account_id text NOT NULL,
    account_label bytea NOT NULL,
    client_name text NOT NULL,
    client_label text,
    client_kind text,
    client_instance text,
    client_address text,
    client_method text,
    granted text NOT NULL,
    scopes text NOT NULL,
    created_at bigint NOT NULL,
    redeemer_address text,
    redeemer_program text,
    expires_at bigint NOT NULL,
    refresh_expires_at bigint NOT NULL,
    generation bigint DEFAULT 0 NOT NULL,
    refreshed_at bigint,
    refresh_salt bytea,
    last_use_at bigint,
    last_use_address text,
    revoked_at bigint,
    revoked_by text,
    client_id text,
    client_claims text,
    lasts_until bigint,
    name text,
    CONSTRAINT sessions_access_check CHECK ((length(access) = 32)),
    CONSTRAINT sessions_check CHECK (((refreshed_at IS NULL) = (refresh_salt IS NULL))),
    CONSTRAINT sessions_check1 CHECK (((last_use_at IS NOT NULL) OR (last_use_address IS NULL))),
    CONSTRAINT sessions_check2 CHECK (((revoked_at IS NULL) = (revoked_by IS NULL))),
    CONSTRAINT sessions_refresh_salt_check CHECK ((length(refresh_salt) = 32)),
    CONSTRAINT sessions_revoked_by_check CHECK ((revoked_by = ANY (ARRAY['agent'::text, 'human'::text, 'service'::text, 'reuse'::text])))
);
ALTER TABLE agent_auth.sessions ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME agent_auth.sessions_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
INSERT INTO agent_auth.authorization_lookups VALUES ('\x3aa536f1e65f704d777af48ef880b581ccfdced3c4844e04bae528521d0eab39', 'reg_m6X7h2yVfVkat9sfl6mwLO');
INSERT INTO agent_auth.authorization_lookups VALUES ('\x66739eea848cbeb1fb4ce16a2c52175a2f1859530ac8d07b72b106d56afe74a1', 'reg_RPgf6iTtyp6I4dUjbIC2aT');
INSERT INTO agent_auth.authorization_lookups VALUES ('\x256197656ea7a0d181b0bdceaa3d727e9e3171407ce753b464c4471d48abd38e', 'reg_T51aPWS7Y0yoSl9zKf7Sk8');
INSERT INTO agent_auth.authorization_lookups VALUES ('\x540d42b72acf33b1f448a3fcdfd9f5e765afe0b37fd03250ce891e0601b1c602', 'reg_knQ5lCEEN1yckUwvQq9wtH');
INSERT INTO agent_auth.authorization_lookups VALUES ('\x703812180fbd95559f200a818b5d9f49e9741f0e5ad86576380abc01f8a6c9bb', 'reg_Xu9AB9QS0VVnQWsfF0TfPc');
INSERT INTO agent_auth.authorization_lookups VALUES ('\x9a3dd6c1a7af081ab02c4c23223cf60d7a20a3e20ab01c642b9ce607db06179a', 'reg_bqTFyDazf4uHvhqBoBjCse');
INSERT INTO agent_auth.authorization_lookups VALUES ('\x899e159e518208812c1228e95adc934a94c8df683dce49e3f31cce802e347d9e', 'reg_kt48L555ZSa2Wd6Zw6ouLS');
INSERT INTO agent_auth.authorization_lookups VALUES ('\x9f9aa711ae69d9ceeaee166c50c8194f1688606d849e804cc485c293d17478ea', 'reg_EVQUueo9nkNIrMqnyxCLcY');
INSERT INTO agent_auth.authorization_lookups VALUES ('\xd639b8a37c6226666deb58bf8ecb5ad407bd90da6dbcaef7e315395f4a4c147e', 'reg_Sgy4lGXJqmihzbitLsIQQi');
INSERT INTO agent_auth.authorization_lookups VALUES ('\x84a7b605d3a618ccfef97cf3913143bce8d3e47fe952b2a540dee24ee8985a60', 'reg_WCCW5PvOBIF8acWGd6UBnd');
INSERT INTO agent_auth.authorization_lookups VALUES ('\xbda81027e6c24e04f6dee4e1c1ee2b1724717680ac37e713eef05abc45dfd10d', 'reg_xU99YiTJizILZECjlnZmWy');
INSERT INTO agent_auth.authorization_lookups VALUES ('\xe0831896359ec2d83bdb49b7bd13f44f2adb091148307587d6190cd4b9e31caf', 'reg_XyOyPgJ726ERaeTCBo2wGv');
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (1, 'reg_m6X7h2yVfVkat9sfl6mwLO', 'https://api.example.com', '{"flow":"claim","version":1}', 'Example "Code" d''Été \ 100% 日本', 'on Ada''s "laptop"; -- $1', 'cli', 'pid 4711 ''α''', '192.0.2.7', 'git''hub"', '192.0.2.7/32', 'projects:read projects:write', 1800000001000, 1800001801000, 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'redeemed', 'projects:read projects:write', 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (2, 'reg_RPgf6iTtyp6I4dUjbIC2aT', 'https://api.example.com', '{"flow":"claim","version":1}', 'Example "Code" d''Été \ 100% 日本', 'on Ada''s "laptop"; -- $1', 'cli', 'pid 4711 ''α''', '2001:db8:1:2:3::4', 'git''hub"', '2001:db8:1:2::/64', 'projects:read projects:write', 1800000005000, 1800001805000, 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'redeemed', 'projects:read projects:write', 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (3, 'reg_yy38AYrxHI4yAXUnlEWaa2', 'https://api.example.com', '{"flow":"browser","version":1,"poll":"2974853aa9b92a9d1584e01fb0fb097e032297e6e79dd1421a2fa4ffce707b73","callback":"http://127.0.0.1:43123/callback?a=b%20c","state":"&=%#é''\"\\ \n$1","challenge":"3e7fc78a9a8fb7a1703caed388e6aa5b7f699f53b8bf1a5adaac4b902b61cebe","code":{"digest":"8e4971426a7464479ed3dcd96a121db0f5fb49d7a4d590010b1fa92bf5905316","expires_at":1800000633000}}', 'Example Agent', NULL, NULL, NULL, NULL, NULL, NULL, 'projects:read projects:write', 1800000031000, 1800000633000, 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'redeemed', 'projects:read projects:write', 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (4, 'reg_T51aPWS7Y0yoSl9zKf7Sk8', 'https://api.example.com', '{"flow":"claim","version":1}', 'Example Agent', NULL, NULL, NULL, NULL, NULL, NULL, 'projects:read projects:write', 1800000035000, 1800001835000, 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'redeemed', 'projects:read projects:write', 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (5, 'reg_knQ5lCEEN1yckUwvQq9wtH', 'https://api.example.com', '{"flow":"claim","version":1}', 'Example "Code" d''Été \ 100% 日本', 'on Ada''s "laptop"; -- $1', 'cli', 'pid 4711 ''α''', '192.0.2.7', 'git''hub"', '192.0.2.7/32', 'projects:read projects:write', 1800000040000, 1800001840000, 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'redeemed', 'projects:read projects:write', 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (6, 'reg_Xu9AB9QS0VVnQWsfF0TfPc', 'https://api.example.com', '{"flow":"claim","version":1}', 'Example Agent', NULL, NULL, NULL, NULL, NULL, NULL, 'projects:read projects:write', 1800000104000, 1800001904000, 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'redeemed', 'projects:read projects:write', 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (7, 'reg_bqTFyDazf4uHvhqBoBjCse', 'https://api.example.com', '{"flow":"claim","version":1}', 'Example Agent', NULL, NULL, NULL, NULL, NULL, NULL, 'projects:read projects:write', 1800000109000, 1800001909000, 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'redeemed', 'projects:read projects:write', 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (8, 'reg_kt48L555ZSa2Wd6Zw6ouLS', 'https://api.example.com', '{"flow":"claim","version":1}', 'Example Agent', NULL, NULL, NULL, NULL, NULL, NULL, 'projects:read projects:write', 1800000134000, 1800001934000, 'acct:bob''s "é"', '\x626f62406578616d706c652e636f6d', 'redeemed', 'projects:read projects:write', 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (9, 'reg_EVQUueo9nkNIrMqnyxCLcY', 'https://api.example.com', '{"flow":"claim","version":1}', 'Example "Code" d''Été \ 100% 日本', 'on Ada''s "laptop"; -- $1', 'cli', 'pid 4711 ''α''', '198.51.100.1', 'git''hub"', '198.51.100.1/32', 'projects:read projects:write', 1800000138000, 1800001938000, 'acct:bob''s "é"', '\x626f62406578616d706c652e636f6d', 'revoked', NULL, 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (10, 'reg_Sgy4lGXJqmihzbitLsIQQi', 'https://api.example.com', '{"flow":"claim","version":1}', 'Example Agent', NULL, NULL, NULL, NULL, NULL, NULL, 'projects:read projects:write', 1800000142000, 1800001942000, 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'denied', NULL, 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (11, 'reg_vsiomrk80mfOEpNEyOsJ4K', 'https://api.example.com', '{"flow":"finish_code","version":1,"poll":"4d0acf1d0b56692208944f817d19d6755d044e4341157dc9eb0596cef116ed8f","code":{"digest":"1ca936d862f245b4ed2aa3ce03b094f858e35e26f11ca2fcc0f899cf43ad496a","expires_at":1800000746000}}', 'Example Agent', NULL, NULL, NULL, NULL, NULL, NULL, 'projects:read projects:write', 1800000144000, 1800000746000, 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'locked', NULL, 5, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (12, 'reg_WCCW5PvOBIF8acWGd6UBnd', 'https://api.example.com', '{"flow":"claim","version":1}', 'Example "Code" d''Été \ 100% 日本', 'on Ada''s "laptop"; -- $1', 'cli', 'pid 4711 ''α''', '192.0.2.7', 'git''hub"', '192.0.2.7/32', 'projects:read projects:write', 1800000147000, 1800001947000, NULL, NULL, 'pending', NULL, 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (13, 'reg_xU99YiTJizILZECjlnZmWy', 'https://api.example.com', '{"flow":"claim","version":1}', 'Example "Code" d''Été \ 100% 日本', 'on Ada''s "laptop"; -- $1', 'cli', 'pid 4711 ''α''', '2001:db8:1:2:ffff::9', 'git''hub"', '2001:db8:1:2::/64', 'projects:read projects:write', 1800000148000, 1800001948000, 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'pending', NULL, 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (14, 'reg_XyOyPgJ726ERaeTCBo2wGv', 'https://api.example.com', '{"flow":"claim","version":1}', 'Example Agent', NULL, NULL, NULL, '198.51.100.2', NULL, '198.51.100.2/32', 'projects:read projects:write', 1800000150000, 1800001950000, 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'approved', 'projects:read projects:write', 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (15, 'reg_9GYnnXyRrEYmsLoZc8BVVK', 'https://api.example.com', '{"flow":"browser","version":1,"poll":"cf326ce3c4b6f34b745cd53b59c1e7a5aa4888f51d3160086b9aacd9a24b1f31","callback":"http://127.0.0.1:43123/callback?a=b%20c","state":"&=%#é''\"\\ \n$1","challenge":"2f0c6dbb8a3aa0f24befe7c6a29e32d4d0c0ee002f0dd43ba369947e7a8de5ea"}', 'Example Agent', NULL, NULL, NULL, NULL, NULL, NULL, 'projects:read projects:write', 1800000153000, 1800001953000, NULL, NULL, 'pending', NULL, 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (16, 'reg_aGFIkXbnxra6hFEwju2wnf', 'https://api.example.com', '{"flow":"browser","version":1,"poll":"76aa28b3c48f9873791d9a661f06f94902956a7a0f1d231d33b27ca70a5a537e","callback":"http://127.0.0.1:43123/callback?a=b%20c","state":"&=%#é''\"\\ \n$1","challenge":"818cf6e85287df297ef97fe622dc89b1c0181bed01a8a682bbe965dd93d29400"}', 'Example "Code" d''Été \ 100% 日本', 'on Ada''s "laptop"; -- $1', 'cli', 'pid 4711 ''α''', '2001:db8:1:2:ffff::9', 'git''hub"', '2001:db8:1:2::/64', 'projects:read projects:write', 1800000154000, 1800001954000, 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'pending', NULL, 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (17, 'reg_TAtA0sEklzgdqr0T4NqOkJ', 'https://api.example.com', '{"flow":"browser","version":1,"poll":"5d1524b136cb6dad2db083a2bb2d3d55b44735dddbec7221f92b89e547573834","callback":"http://127.0.0.1:43123/callback?a=b%20c","state":"&=%#é''\"\\ \n$1","challenge":"d8bc3b2c4f4620092d6019e7936787467b04902b80c5e321abfd4d2058e336de","code":{"digest":"18dceeb1d1ca0d67c8a0f5593f096ef705c13c83c85d08dda22b66015c6c379b","expires_at":1800000758000}}', 'Example Agent', NULL, NULL, NULL, '198.51.100.2', NULL, '198.51.100.2/32', 'projects:read projects:write', 1800000156000, 1800000758000, 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'approved', 'projects:read projects:write', 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (18, 'reg_PVfbHMSGMET3Sywp8qcjNM', 'https://api.example.com', '{"flow":"detached","version":1,"poll":"1ea022c85373420e750b7f8d5efed3fe577131b8c963612dcaf71758f701ae03","exchange":"a07b7326c7349f6ad34ffcf98b561a0bcfacc649c5f36da29c37ae7ddcff56ca","finish_code":false}', 'Example "Code" d''Été \ 100% 日本', 'on Ada''s "laptop"; -- $1', 'cli', 'pid 4711 ''α''', '192.0.2.7', 'git''hub"', '192.0.2.7/32', 'projects:read projects:write', 1800000159000, 1800001959000, NULL, NULL, 'pending', NULL, 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (19, 'reg_EAYo6KAdCeBEJytSLlB0wQ', 'https://api.example.com', '{"flow":"detached","version":1,"poll":"27bf65b5631a793cc8fdc1568eb7cbbb4ec3e47e91d8369763bc46960f278d5f","exchange":"a012aabf9bd8fb7e757f3602e9d8d65b169368a62707c4a96b057b1082a0d6e1","finish_code":false}', 'Example "Code" d''Été \ 100% 日本', 'on Ada''s "laptop"; -- $1', 'cli', 'pid 4711 ''α''', '2001:db8:1:2:ffff::9', 'git''hub"', '2001:db8:1:2::/64', 'projects:read projects:write', 1800000160000, 1800001960000, 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'pending', NULL, 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (20, 'reg_QM5p9Wi8IkHtxicgODSFSm', 'https://api.example.com', '{"flow":"detached","version":1,"poll":"f8805e01dddeabee45992269857f3fb094e27d9af79a4aba79b5f04c3f9e26c1","exchange":"e541e1759e304b5bb7c05471a25457977832ea300dae626e5d3e34a70e208ef9","finish_code":false}', 'Example Agent', NULL, NULL, NULL, '198.51.100.2', NULL, '198.51.100.2/32', 'projects:read projects:write', 1800000162000, 1800001962000, 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'approved', 'projects:read projects:write', 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (21, 'reg_mDmF7AiqYUmzZvUBL3sgkK', 'https://api.example.com', '{"flow":"detached","version":1,"poll":"f3c033117bc205c9e33aaf9a5d71b51fbf6630928daff164a4054e4dfc64ed7c","exchange":"f142a72a7d6ec42aa67b02da33ad1fd8c4b28510cf8bc8496ae7a55b5cd9caab","finish_code":true}', 'Example Agent', NULL, NULL, NULL, NULL, NULL, NULL, 'projects:read projects:write', 1800000165000, 1800001965000, NULL, NULL, 'pending', NULL, 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (22, 'reg_GmVCWbccIYQi9tntC3D3tO', 'https://api.example.com', '{"flow":"detached","version":1,"poll":"c37a51677957cce449b50ef0f04f139b3d01e578408f8c058e90507f3c5d9561","exchange":"1a9419d3a1b53ebbd68d32da00f0ddc7817f2962b6d1f3434725d903f44c0019","finish_code":true}', 'Example "Code" d''Été \ 100% 日本', 'on Ada''s "laptop"; -- $1', 'cli', 'pid 4711 ''α''', '2001:db8:1:2:ffff::9', 'git''hub"', '2001:db8:1:2::/64', 'projects:read projects:write', 1800000166000, 1800001966000, 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'pending', NULL, 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (23, 'reg_cjhCm54aJhQUbxCRSW6w3E', 'https://api.example.com', '{"flow":"detached","version":1,"poll":"56a354c2aea7473df6ca3c64206fdb6e125633993ad82d97db2184f56c7af9e5","exchange":"df543bd19309489dbb527dc00dfdba4582c150cbfd7cb5a904401094579caa20","finish_code":true,"code":{"digest":"0181dda32d5a824a55043caf86269df72ae0ab61229c88b15b51bb585c56bb6a","expires_at":1800000770000}}', 'Example Agent', NULL, NULL, NULL, '198.51.100.2', NULL, '198.51.100.2/32', 'projects:read projects:write', 1800000168000, 1800001968000, 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'approved', 'projects:read projects:write', 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (24, 'reg_XtSb3CWtQJjiN04I4zka5S', 'https://api.example.com', '{"flow":"finish_code","version":1,"poll":"6c18070e0cbb60e9d76019f22ed2604f969cd4432ad23c64dc95596ced2d684f"}', 'Example "Code" d''Été \ 100% 日本', 'on Ada''s "laptop"; -- $1', 'cli', 'pid 4711 ''α''', '192.0.2.7', 'git''hub"', '192.0.2.7/32', 'projects:read projects:write', 1800000171000, 1800001971000, NULL, NULL, 'pending', NULL, 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (25, 'reg_JoNtQWwsKszRNXC8sQpEAu', 'https://api.example.com', '{"flow":"finish_code","version":1,"poll":"48b7a8cb194d622395ae7f1494b59864fd3213c3407c6c9380b4a12c6235b5eb"}', 'Example "Code" d''Été \ 100% 日本', 'on Ada''s "laptop"; -- $1', 'cli', 'pid 4711 ''α''', '2001:db8:1:2:ffff::9', 'git''hub"', '2001:db8:1:2::/64', 'projects:read projects:write', 1800000172000, 1800001972000, 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'pending', NULL, 0, NULL, NULL, NULL);
INSERT INTO agent_auth.authorization_requests OVERRIDING SYSTEM VALUE VALUES (26, 'reg_9a4gldQo7K76K8EBYOYotM', 'https://api.example.com', '{"flow":"finish_code","version":1,"poll":"39a04eb69de3822f0899e35a128adbec0cb64df1cda83a9ee8da95c9926d6eb9","code":{"digest":"3796119797b5b35af47e8a488b2dc15a5fa2dc3abb44e0472b92d6dcce4bf5ab","expires_at":1800000776000}}', 'Example Agent', NULL, NULL, NULL, '198.51.100.2', NULL, '198.51.100.2/32', 'projects:read projects:write', 1800000174000, 1800000776000, 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'approved', 'projects:read projects:write', 0, NULL, NULL, NULL);
INSERT INTO agent_auth.client_counts VALUES (1, 0);
INSERT INTO agent_auth.migrations VALUES (1, '2026-11-27 06:48:26.807084+00');
INSERT INTO agent_auth.migrations VALUES (2, '2026-11-27 13:31:06.097005+00');
INSERT INTO agent_auth.migrations VALUES (3, '2026-11-26 12:00:00+00');
INSERT INTO agent_auth.migrations VALUES (4, '2026-11-27 20:52:35.229185+00');
INSERT INTO agent_auth.refresh_tokens VALUES ('\x78a9b490814e8d5edafccee9d060bc82df3c0c641fbe7b974fb45d1b02b5c7b2', 'ses_xseUxeIvJORcSOXiH7IjNb', 0, 1807776004000);
INSERT INTO agent_auth.refresh_tokens VALUES ('\x9b4e9159bd4c4c1d88478fea026c35847335682510b0f26ef8edfbde752aaa78', 'ses_wRBf7xZovfZnQGm06mO9E5', 0, 1807776008000);
INSERT INTO agent_auth.refresh_tokens VALUES ('\xc1ea745fb6a91f6a67ccde6351e4739f459170d0850d92126b64da9879da9325', 'ses_wRBf7xZovfZnQGm06mO9E5', 1, 1807776009000);
INSERT INTO agent_auth.refresh_tokens VALUES ('\x855d0db97d16e233bab367bf516b834e2f71dff279411dca00dce5276c8a7ed6', 'ses_wRBf7xZovfZnQGm06mO9E5', 2, 1807776030000);
INSERT INTO agent_auth.refresh_tokens VALUES ('\xcc789a04bc76986a1f2d3008a237693d88e207285247202ad14158bdffa38a0b', 'ses_3Iq8WiKZt0W2MMn2hND5gQ', 0, 1807776034000);
INSERT INTO agent_auth.refresh_tokens VALUES ('\x4f6be23a298958fcede793acfad3592a6d9aafd2b46c003b62060d8e9e6c1708', 'ses_xK2fSEwPARFm7qtw8MMR7S', 0, 1807776038000);
INSERT INTO agent_auth.refresh_tokens VALUES ('\x92b53dc3cd1dc6cf6be91192ea92f9eb1677ae74343c3588d7d5298d780d1b02', 'ses_Js7575oCQx1H3JNycf1MDj', 0, 1807776043000);
INSERT INTO agent_auth.refresh_tokens VALUES ('\xc32c58075cf85e13b80d44086ee29f1258c9d6a6d7f5c61ad5fc5f36d6603f8f', 'ses_PvOf9SIZ7AHhmvpfyNiFMx', 0, 1807776107000);
INSERT INTO agent_auth.refresh_tokens VALUES ('\x28751db851c9a83b02fabeb05d5b32978a781e1188db78c88f2d127bd08585fa', 'ses_PvOf9SIZ7AHhmvpfyNiFMx', 1, 1807776108000);
INSERT INTO agent_auth.refresh_tokens VALUES ('\x65c43e8f7e356b497859191c6bef5879bf2bc122bb0dd76fec50a2be79961f91', 'ses_Y1tkgf99eBRZ01cFjDChbK', 0, 1807776112000);
INSERT INTO agent_auth.refresh_tokens VALUES ('\xadf6916f0a7216642429f13796f361836b929bbe91bd55613612b0c3a9a12913', 'ses_Y1tkgf99eBRZ01cFjDChbK', 1, 1807776113000);
INSERT INTO agent_auth.refresh_tokens VALUES ('\xb3b8c18b36bb4d06df7ab9b367359ab3b1501a4d28579e819af19dff0ae88b51', 'ses_xPqmdtPkXBymls9D3pr82U', 0, 1807776137000);
INSERT INTO agent_auth.sessions OVERRIDING SYSTEM VALUE VALUES (1, 'ses_xseUxeIvJORcSOXiH7IjNb', 'reg_m6X7h2yVfVkat9sfl6mwLO', '\xe8fbfb3a57ce8f0b77c5d6bf32d2a42e726f2f2cd775f155291729a5b97a4b66', 'https://api.example.com', 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'Example "Code" d''Été \ 100% 日本', 'on Ada''s "laptop"; -- $1', 'cli', 'pid 4711 ''α''', '192.0.2.7', 'git''hub"', 'projects:read projects:write', 'projects:read projects:write', 1800000004000, '203.0.113.9', 'node/22 ''x'' "y"', 1802592004000, 1807776004000, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO agent_auth.sessions OVERRIDING SYSTEM VALUE VALUES (2, 'ses_wRBf7xZovfZnQGm06mO9E5', 'reg_RPgf6iTtyp6I4dUjbIC2aT', '\x7897dbc7dd70c850d92b866eb23b94682567f1c2f828adc34d6bdc260d69a7e4', 'https://api.example.com', 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'Example "Code" d''Été \ 100% 日本', 'on Ada''s "laptop"; -- $1', 'cli', 'pid 4711 ''α''', '2001:db8:1:2:3::4', 'git''hub"', 'projects:read projects:write', 'projects:read projects:write', 1800000008000, '203.0.113.9', 'node/22 ''x'' "y"', 1802592030000, 1807776030000, 2, 1800000030000, '\xaec2931686013498e7fd42d76f6ff6540c774a9dd2478550ce761b96d79bb439', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO agent_auth.sessions OVERRIDING SYSTEM VALUE VALUES (3, 'ses_3Iq8WiKZt0W2MMn2hND5gQ', 'reg_yy38AYrxHI4yAXUnlEWaa2', '\x090d31e9c2e0bb734edb8577223310f648d41a2872579fced580aa2b4014e2b9', 'https://api.example.com', 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'Example Agent', NULL, NULL, NULL, NULL, NULL, 'projects:read projects:write', 'projects:read projects:write', 1800000034000, NULL, NULL, 1802592034000, 1807776034000, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO agent_auth.sessions OVERRIDING SYSTEM VALUE VALUES (4, 'ses_xK2fSEwPARFm7qtw8MMR7S', 'reg_T51aPWS7Y0yoSl9zKf7Sk8', '\x83f4fba893faeca5ad78c798ed601d17dcd0b1fe8d667f48a27f65b06c4f1c3a', 'https://api.example.com', 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'Example Agent', NULL, NULL, NULL, NULL, NULL, 'projects:read projects:write', 'projects:read projects:write', 1800000038000, '203.0.113.9', 'node/22 ''x'' "y"', 1802592038000, 1807776038000, 0, NULL, NULL, NULL, NULL, 1800000039000, 'human', NULL, NULL, NULL, NULL);
INSERT INTO agent_auth.sessions OVERRIDING SYSTEM VALUE VALUES (5, 'ses_Js7575oCQx1H3JNycf1MDj', 'reg_knQ5lCEEN1yckUwvQq9wtH', '\xefc72c91f5545641eb3cd4af8fdfb4f86bddcff300c7dbcb5b5fc84dd117f416', 'https://api.example.com', 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'Example "Code" d''Été \ 100% 日本', 'on Ada''s "laptop"; -- $1', 'cli', 'pid 4711 ''α''', '192.0.2.7', 'git''hub"', 'projects:read projects:write', 'projects:read projects:write', 1800000043000, '203.0.113.9', 'node/22 ''x'' "y"', 1802592043000, 1807776043000, 0, NULL, NULL, 1800000103000, '2001:db8::7', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO agent_auth.sessions OVERRIDING SYSTEM VALUE VALUES (6, 'ses_PvOf9SIZ7AHhmvpfyNiFMx', 'reg_Xu9AB9QS0VVnQWsfF0TfPc', '\x815c7b9e918116faad2d9958199fe4025eeb78e10565c887e8d03f419ded85f0', 'https://api.example.com', 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'Example Agent', NULL, NULL, NULL, NULL, NULL, 'projects:read projects:write', 'projects:read', 1800000107000, '203.0.113.9', 'node/22 ''x'' "y"', 1802592108000, 1807776108000, 1, 1800000108000, '\x36f6a0a8bc96acb6a56195791c89ae6524e898a4bdccfe1711950d030a876548', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO agent_auth.sessions OVERRIDING SYSTEM VALUE VALUES (7, 'ses_Y1tkgf99eBRZ01cFjDChbK', 'reg_bqTFyDazf4uHvhqBoBjCse', '\x9e5c30b318173de77e03b66f19b9d138316602a3590dd45ac5a0908a03d93c33', 'https://api.example.com', 'acct_ada', '\x5a6fc3ab20e2809c416461e2809d204f27427269656e093c61646140e4be8be381882e6578616d706c653e205c783431205c2031303025202431207b7d3b202d2d20f09fa6800d0a7365636f6e6420e280ae6c696e65', 'Example Agent', NULL, NULL, NULL, NULL, NULL, 'projects:read projects:write', 'projects:read projects:write', 1800000112000, '203.0.113.9', 'node/22 ''x'' "y"', 1802592113000, 1807776113000, 1, 1800000113000, '\x99ab4aa0fa67258c42ff2c25b37da8637ba66473d91df4c7371dfc7a823ba56e', NULL, NULL, 1800000133000, 'reuse', NULL, NULL, NULL, NULL);
INSERT INTO agent_auth.sessions OVERRIDING SYSTEM VALUE VALUES (8, 'ses_xPqmdtPkXBymls9D3pr82U', 'reg_kt48L555ZSa2Wd6Zw6ouLS', '\x69514635a721b0d94ea887da8552488d8e46f1fb405646892948f725e207e978', 'https://api.example.com', 'acct:bob''s "é"', '\x626f62406578616d706c652e636f6d', 'Example Agent', NULL, NULL, NULL, NULL, NULL, 'projects:read projects:write', 'projects:read projects:write', 1800000137000, '203.0.113.9', 'node/22 ''x'' "y"', 1802592137000, 1807776137000, 0, NULL, NULL, NULL, NULL, 1800000141000, 'human', NULL, NULL, NULL, NULL);
SELECT pg_catalog.setval('agent_auth.authorization_requests_seq_seq', 26, true);
SELECT pg_catalog.setval('agent_auth.sessions_seq_seq', 8, true);
ALTER TABLE ONLY agent_auth.authorization_lookups
    ADD CONSTRAINT authorization_lookups_pkey PRIMARY KEY (lookup);
ALTER TABLE ONLY agent_auth.authorization_requests
    ADD CONSTRAINT authorization_requests_id_key UNIQUE (id);
ALTER TABLE ONLY agent_auth.authorization_requests
    ADD CONSTRAINT authorization_requests_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY agent_auth.client_counts
    ADD CONSTRAINT client_counts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY agent_auth.clients
    ADD CONSTRAINT clients_pkey PRIMARY KEY (id);
ALTER TABLE ONLY agent_auth.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (version);
ALTER TABLE ONLY agent_auth.refresh_tokens
    ADD CONSTRAINT refresh_tokens_pkey PRIMARY KEY (refresh);
ALTER TABLE ONLY agent_auth.refresh_tokens
    ADD CONSTRAINT refresh_tokens_session_generation_key UNIQUE (session, generation);
ALTER TABLE ONLY agent_auth.sessions
    ADD CONSTRAINT sessions_access_key UNIQUE (access);
ALTER TABLE ONLY agent_auth.sessions
    ADD CONSTRAINT sessions_id_key UNIQUE (id);
ALTER TABLE ONLY agent_auth.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (seq);
CREATE INDEX authorization_lookups_by_request ON agent_auth.authorization_lookups USING btree (request);
CREATE INDEX authorization_requests_by_account ON agent_auth.authorization_requests USING btree (account_id, id) WHERE (account_id IS NOT NULL);
CREATE INDEX authorization_requests_by_expiry ON agent_auth.authorization_requests USING btree (expires_at);
CREATE INDEX authorization_requests_pending ON agent_auth.authorization_requests USING btree (expires_at) WHERE (state = 'pending'::text);
CREATE INDEX authorization_requests_pending_by_source ON agent_auth.authorization_requests USING btree (source, expires_at) WHERE (state = 'pending'::text);
CREATE INDEX clients_by_use ON agent_auth.clients USING btree (used_at) WHERE (used_at IS NOT NULL);
CREATE INDEX clients_unused ON agent_auth.clients USING btree (created_at) WHERE (used_at IS NULL);
CREATE INDEX refresh_tokens_by_end ON agent_auth.refresh_tokens USING btree (ends_at);
CREATE INDEX sessions_by_account ON agent_auth.sessions USING btree (account_id, seq);
CREATE INDEX sessions_by_end ON agent_auth.sessions USING btree (refresh_expires_at);
CREATE INDEX sessions_by_request ON agent_auth.sessions USING btree (request);
ALTER TABLE ONLY agent_auth.authorization_lookups
    ADD CONSTRAINT authorization_lookups_request_fkey FOREIGN KEY (request) REFERENCES agent_auth.authorization_requests(id) ON DELETE CASCADE;
ALTER TABLE ONLY agent_auth.refresh_tokens
    ADD CONSTRAINT refresh_tokens_session_fkey FOREIGN KEY (session) REFERENCES agent_auth.sessions(id) ON DELETE CASCADE;

//! All findings: what is expected, who expects it, and what to do.

use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Severity {
    /// Agents get in. Some do better with it, or one grader asks for it.
    Note,
    /// Some agents or hosts can't get in, or are told something wrong.
    Warning,
    /// Agents can't get in, or a specification says MUST.
    Error,
}

impl Severity {
    pub(crate) const WORST_FIRST: [Self; 3] = [Self::Error, Self::Warning, Self::Note];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is known of a finding before a service is looked at.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) id: &'static str,
    pub(crate) severity: Severity,
    pub(crate) source: &'static str,
    pub(crate) expected: &'static str,
    pub(crate) remedy: &'static str,
}

macro_rules! checks {
    ($($name:ident $id:literal $severity:ident, $source:literal, $expected:literal, $remedy:literal;)*) => {
        /// A check, named by what it finds.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub(crate) enum Check { $($name),* }

        impl Check {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            pub(crate) fn about(self) -> &'static About {
                match self {
                    $(Self::$name => &About {
                        id: $id,
                        severity: Severity::$severity,
                        source: $source,
                        expected: $expected,
                        remedy: $remedy,
                    }),*
                }
            }
        }
    };
}

checks! {
// Transport
Unreachable "unreachable" Error, "RFC 9110 section 3.3",
    "an answer", "Start the service, and check its name, port and firewall.";
Unavailable "unavailable" Error, "RFC 9110 section 15.6, RFC 6585 section 4",
    "an answer below 500 and no 429", "Let the service answer again, then run this again.";
Timeout "timeout" Error, "MCP hosts",
    "a whole answer before the deadline", "Find out what the service waits for; hosts give up after seconds.";
GaveUp "gave-up" Warning, "this program",
    "fewer than three late answers", "Make the service answer in time, then run this again to check the rest.";
TlsFailed "tls-failed" Error, "RFC 9110 section 4.3.4",
    "a certificate that public roots vouch for", "Serve the whole chain of a valid certificate for this host.";
NotHttp "not-http" Error, "RFC 9112 section 2",
    "a whole HTTP response", "Serve HTTP at this port, and end each response as its headers say.";
UrlInsecure "url-insecure" Error, "RFC 6749 sections 3.1 and 3.2, RFC 8414 section 2, RFC 9728 section 2",
    "an https URL, or http on a loopback address", "Name the https URL.";
NotAnAuthServer "not-an-auth-server" Error, "RFC 9728 section 5, auth.md v0.6",
    "a challenge, or a document that tells agents how to get access",
    "Check the URL; if it is right, guard it and publish protected resource metadata.";

// Challenge
ChallengeNone "challenge-none" Warning, "RFC 9728 section 5.1",
    "401 without a token", "Run this with the URL of a protected route, or guard this one.";
ChallengeStatus "challenge-status" Error, "RFC 9110 section 15.5.2",
    "401 without a token", "Answer 401 with a Bearer challenge to a request without a token; of a POST-only route, check a GET route beside it.";
ChallengeRedirect "challenge-redirect" Error, "RFC 9110 section 15.5.2",
    "401 without a token", "Answer 401 instead of a redirect; agents can't sign in at a page.";
ChallengeMissing "challenge-missing" Error, "RFC 9110 section 11.6.1, RFC 9728 section 5.1",
    "a WWW-Authenticate header", "Send WWW-Authenticate: Bearer resource_metadata=\"…\" with each 401.";
ChallengeMalformed "challenge-malformed" Error, "RFC 9110 section 11.6.1",
    "challenges that follow the grammar", "Write each parameter as name=\"value\", with commas between them.";
ChallengeNoBearer "challenge-no-bearer" Error, "RFC 6750 section 3",
    "a challenge of the scheme Bearer", "Add a Bearer challenge, as the first one.";
ChallengeNotFirst "challenge-not-first" Warning, "MCP TypeScript SDK",
    "a header that starts with Bearer", "Write the Bearer challenge before the others: some hosts read only the first.";
ChallengeSeveral "challenge-several" Warning, "MCP hosts",
    "resource_metadata in the first Bearer challenge", "Put all parameters into one Bearer challenge: hosts read only one.";
ChallengeNoMetadata "challenge-no-metadata" Warning, "RFC 9728 section 5.1, auth.md v0.6",
    "the parameter resource_metadata", "Name the URL of the protected resource metadata in the challenge.";
ChallengeUnquoted "challenge-unquoted" Error, "RFC 9110 section 11.2, MCP TypeScript SDK",
    "resource_metadata in quotes", "Write quotes around the URL: hosts look for resource_metadata=\"…\".";
ChallengeRelative "challenge-relative" Error, "RFC 9728 section 5.1",
    "an absolute URL", "Write the whole URL, with https and the host.";
ChallengeOrigin "challenge-origin" Warning, "RFC 9728 section 3.1",
    "metadata at the origin of the resource", "Serve the metadata at the origin of the URL, and name it there.";
ChallengeNoScope "challenge-no-scope" Note, "MCP authorization, scope selection strategy",
    "the scopes that the call needs", "Name the scopes in the challenge; without them clients ask for all.";
ChallengeScopeUnknown "challenge-scope-unknown" Warning, "RFC 9728 section 2",
    "scopes that scopes_supported has", "Use the same scope names in the challenge and in the metadata.";
ChallengeError "challenge-error" Note, "RFC 6750 section 3.1",
    "no error where no token was sent", "Leave error out of the challenge to a request without a token.";
ChallengeMethod "challenge-method" Warning, "MCP hosts",
    "the same 401 for GET, HEAD and POST", "Guard all methods alike: hosts try them in different orders.";
BadTokenAccepted "bad-token-accepted" Error, "RFC 6750 section 3.1",
    "401 for a token that was never issued", "Verify the token, not only that there is one.";
BadTokenStatus "bad-token-status" Error, "RFC 6750 section 3.1",
    "401 for a token that was never issued", "Answer 401 with error=\"invalid_token\" to a bad token.";
BadTokenError "bad-token-error" Note, "RFC 6750 section 3.1",
    "error=\"invalid_token\" for a bad token", "Add error=\"invalid_token\" to the challenge, so that agents refresh.";

// Documents
DocumentRedirect "document-redirect" Warning, "RFC 8414 section 3.1, RFC 9728 section 3.1",
    "200 at the URL itself", "Serve the document at this URL: not every client follows a redirect.";
DocumentStatus "document-status" Error, "RFC 8414 section 3.1, RFC 9728 section 3.1",
    "an answer below 500", "Let the URL answer 200 with the document, or 404; some clients stop at 500.";
DocumentGuarded "document-guarded" Note, "RFC 8414 section 3, RFC 9728 section 3",
    "200, or 404 where there is no document", "Leave the guard away from /.well-known, and answer 404 there.";
DocumentHtml "document-html" Error, "RFC 8414 section 3.2, RFC 9728 section 3.2",
    "JSON, or 404 where there is no document", "Let the web app not answer for /.well-known; clients stop at its HTML.";
DocumentNotJson "document-not-json" Error, "RFC 8414 section 3.2, RFC 9728 section 3.2",
    "a JSON object", "Serve one JSON object, without a byte order mark or comments.";
DocumentSpare "document-spare" Warning, "RFC 8414 section 3.1, RFC 9728 section 3.1, MCP hosts",
    "the document, or 404, also where it is not named", "Serve the document here too, or 404; some clients look here first.";
DocumentTooLarge "document-too-large" Error, "this program",
    "at most 1 MiB", "Shorten the document; clients limit what they read.";
DocumentMediaType "document-media-type" Warning, "RFC 8414 section 3.2, RFC 9728 section 3.2",
    "Content-Type: application/json", "Send the document as application/json.";
DocumentHead "document-head" Warning, "RFC 9110 section 9.1",
    "the same status for HEAD as for GET", "Answer HEAD as GET, without the body.";
DocumentCors "document-cors" Note, "MCP hosts in browsers",
    "Access-Control-Allow-Origin", "Send Access-Control-Allow-Origin: * with public documents.";
DocumentCache "document-cache" Note, "RFC 9728 section 7.10",
    "Cache-Control with a max-age of at most a day", "Send Cache-Control: public, max-age=300.";

// Protected resource metadata
PrmMissing "prm-missing" Error, "RFC 9728 section 3, MCP authorization server discovery",
    "protected resource metadata", "Serve /.well-known/oauth-protected-resource, and below it the path of the resource.";
PrmNamedMissing "prm-named-missing" Error, "RFC 9728 section 5.1",
    "metadata where the challenge says", "Let the challenge name the URL that serves the metadata.";
PrmWellKnown "prm-well-known" Warning, "RFC 9728 section 3.1",
    "the document at the well-known URL of its resource", "Serve it there too: some hosts never see the challenge.";
PrmDisagree "prm-disagree" Warning, "RFC 9728 section 3.3",
    "the same authorization servers in each document", "Render all documents from one configuration.";
PrmResourceMissing "prm-resource-missing" Error, "RFC 9728 section 2",
    "resource, an absolute URL", "Add resource with the identifier of the resource.";
PrmResourceMismatch "prm-resource-mismatch" Error, "RFC 9728 section 3.3",
    "a resource that is the URL, or a beginning of it", "Set resource to the URL that clients call; they refuse another's.";
PrmResourceInexact "prm-resource-inexact" Warning, "RFC 9728 section 3.3, MCP hosts",
    "a resource that is exactly the MCP URL", "Give the MCP endpoint a resource of its own; Gemini refuses a shorter one.";
PrmResourceForm "prm-resource-form" Note, "MCP authorization, canonical server URI",
    "no trailing slash, query or fragment, and a lower-case host", "Write the canonical form; some hosts compare strings.";
PrmServers "prm-servers" Error, "RFC 9728 section 2, MCP authorization server discovery",
    "authorization_servers with at least one issuer", "Name the issuer in authorization_servers.";
PrmScopes "prm-scopes" Note, "RFC 9728 section 2, Cloudflare agent-readiness scanner",
    "scopes_supported with at least one scope", "List the scopes that agents may ask for.";
PrmOfflineAccess "prm-offline-access" Note, "MCP authorization, refresh tokens",
    "no offline_access among the scopes of a resource", "Remove offline_access here; it is no scope of the resource.";
PrmNoBearerMethods "prm-no-bearer-methods" Note, "Cloudflare agent-readiness scanner",
    "bearer_methods_supported", "Add bearer_methods_supported: [\"header\"].";
PrmBearerMethods "prm-bearer-methods" Error, "MCP authorization, token requirements",
    "header among bearer_methods_supported", "Accept tokens in the Authorization header, and say so.";

// Authorization server metadata
AsIssuerInvalid "as-issuer-invalid" Error, "RFC 8414 section 2",
    "an issuer that is an absolute URL without query and fragment", "Name the issuer by such a URL.";
AsMissing "as-missing" Error, "RFC 8414 section 3, MCP authorization server discovery",
    "authorization server metadata", "Serve /.well-known/oauth-authorization-server, with the issuer's path after it.";
AsOnlyOpenid "as-only-openid" Warning, "RFC 8414 section 3.1, auth.md v0.6",
    "the document at oauth-authorization-server", "Serve it there too: agents of auth.md look nowhere else.";
AsDisagree "as-disagree" Warning, "RFC 8414 section 3.3",
    "the same endpoints in each document", "Serve one document at all well-known URLs.";
AsIssuerMismatch "as-issuer-mismatch" Error, "RFC 8414 section 3.3",
    "an issuer equal to the one that the URL was built from", "Write the issuer the same everywhere, slash included.";
AsTokenEndpoint "as-token-endpoint" Error, "RFC 8414 section 2",
    "token_endpoint", "Name the token endpoint.";
AsAuthorizationEndpoint "as-authorization-endpoint" Error, "RFC 8414 section 2, MCP TypeScript SDK",
    "authorization_endpoint", "Name the authorization endpoint; MCP hosts refuse metadata without it.";
AsResponseTypes "as-response-types" Error, "RFC 8414 section 2",
    "response_types_supported, an array", "Add response_types_supported; [\"code\"], or [] without a code grant.";
AsGrantTypes "as-grant-types" Warning, "RFC 8414 section 2",
    "grant_types_supported", "List the grants; without the list clients must assume implicit.";
AsGrantImplicit "as-grant-implicit" Warning, "RFC 9700 sections 2.1.2 and 2.4",
    "neither implicit nor password", "Remove these grants; OAuth 2.1 has them no more.";
AsNoRefresh "as-no-refresh" Note, "RFC 6749 section 6",
    "refresh_token among grant_types_supported", "Offer refresh tokens, or humans sign in again and again.";
AsPkce "as-pkce" Error, "RFC 7636 section 4.2, MCP authorization code protection",
    "S256 among code_challenge_methods_supported", "Require PKCE, and say [\"S256\"]; MCP clients must refuse otherwise.";
AsPkcePlain "as-pkce-plain" Warning, "RFC 9700 section 2.1.1",
    "no plain among code_challenge_methods_supported", "Accept S256 only.";
AsIss "as-iss" Note, "RFC 9207 section 3, MCP authorization response validation",
    "authorization_response_iss_parameter_supported: true", "Send iss with every authorization response, and say so.";
AsAuthMethods "as-auth-methods" Warning, "RFC 8414 section 2",
    "token_endpoint_auth_methods_supported", "List the methods; without the list clients assume client_secret_basic.";
AsAuthNone "as-auth-none" Warning, "MCP hosts",
    "none among token_endpoint_auth_methods_supported", "Let public clients in; all MCP hosts are public clients.";
AsNoRegistration "as-no-registration" Warning, "MCP client registration",
    "registration_endpoint or client_id_metadata_document_supported", "Offer one, or humans must type in a client id.";
AsRegistrationShared "as-registration-shared" Error, "RFC 7591 section 3",
    "a registration_endpoint that is not an endpoint of auth.md", "Take it out, or name an endpoint that registers OAuth clients.";
AsNoDcr "as-no-dcr" Note, "MCP hosts",
    "registration_endpoint beside client metadata documents", "Offer it too: most hosts know only registration.";
AsNoCimd "as-no-cimd" Note, "MCP client registration",
    "client_id_metadata_document_supported: true", "Accept client metadata documents; registration is deprecated in MCP.";
AsNoScopes "as-no-scopes" Note, "RFC 8414 section 2",
    "scopes_supported", "List the scopes; clients without a challenge ask for these.";
AsNoRevocation "as-no-revocation" Note, "RFC 7009, auth.md v0.6",
    "revocation_endpoint", "Let agents revoke their own tokens.";
AsResourceUnknown "as-resource-unknown" Warning, "RFC 9728 section 4",
    "the resource among protected_resources, if there are any", "Name the resource there; careful agents stop otherwise.";
AsFieldType "as-field-type" Error, "RFC 8414 section 2",
    "fields of the type that the specification says", "Write lists as JSON arrays of strings, flags as true or false.";

// Endpoints
EndpointRelative "endpoint-relative" Error, "RFC 8414 section 2",
    "an absolute URL without fragment", "Write the whole URL.";
EndpointOrigin "endpoint-origin" Note, "ora.ai, RFC 9700 section 4.4",
    "endpoints at the origin of the issuer", "Serve the endpoints where the issuer is; careful agents refuse others.";
EndpointNotFound "endpoint-not-found" Error, "RFC 8414 section 2",
    "an endpoint that answers", "Serve the endpoint, or take it out of the metadata.";
EndpointBroken "endpoint-broken" Error, "RFC 6749 section 5.2",
    "a refusal below 500 of a request without content", "Refuse bad input with 400 and a JSON error.";
EndpointHtml "endpoint-html" Error, "RFC 6749 section 5.2",
    "a JSON answer", "Check that the web app does not answer in place of the endpoint.";
EndpointMethod "endpoint-method" Error, "RFC 6749 section 3.2, RFC 7591 section 3.1",
    "an endpoint that takes POST", "Accept POST at this URL.";
EndpointAccepts "endpoint-accepts" Error, "RFC 6749 section 5.2, RFC 7591 section 3.2.2",
    "a refusal of a request without content", "Refuse input that lacks what the endpoint needs.";
EndpointNotJson "endpoint-not-json" Warning, "RFC 6749 section 5.2, auth.md v0.6",
    "errors as JSON with a string error", "Answer {\"error\":\"invalid_request\",…} as application/json.";
EndpointCors "endpoint-cors" Note, "MCP hosts in browsers",
    "a token endpoint that allows other origins", "Answer the preflight of the token endpoint.";
EndpointKeys "endpoint-keys" Error, "RFC 7517 section 5",
    "a JSON Web Key Set at jwks_uri", "Serve {\"keys\":[…]} there, or take jwks_uri out.";

// The agent_auth block
AgentAuthMissing "agent-auth-missing" Warning, "auth.md v0.6",
    "agent_auth in the authorization server metadata", "Add agent_auth; agents read it, not the text of auth.md.";
AgentAuthSkill "agent-auth-skill" Note, "Cloudflare agent-readiness scanner",
    "agent_auth.skill", "Name the URL of auth.md as skill.";
AgentAuthNoRegister "agent-auth-no-register" Error, "auth.md v0.1 and v0.6",
    "register_uri or identity_endpoint", "Name the endpoint where agents ask for access.";
AgentAuthNoClaim "agent-auth-no-claim" Error, "auth.md v0.6",
    "claim_endpoint or claim_uri", "Name the endpoint where agents claim what a human approved.";
AgentAuthOldNames "agent-auth-old-names" Note, "auth.md v0.6",
    "identity_endpoint beside register_uri", "Offer the current names too; agents of v0.2 and later read only those.";
AgentAuthNewNames "agent-auth-new-names" Note, "auth.md v0.1, Cloudflare agent-readiness scanner",
    "register_uri beside identity_endpoint", "Add register_uri and claim_uri, which agents of v0.1 and graders read.";
AgentAuthTypes "agent-auth-types" Error, "auth.md v0.6",
    "identity_types_supported, not empty", "List the identity types that are on; agents stop without the list.";
AgentAuthAssertion "agent-auth-assertion" Warning, "auth.md v0.6",
    "identity_assertion.assertion_types_supported", "List the assertion types, such as ID-JAG.";
AgentAuthUnlisted "agent-auth-unlisted" Warning, "auth.md v0.6",
    "each method that has a block among identity_types_supported", "List the method, or take its block out.";
AgentAuthGrant "agent-auth-grant" Warning, "auth.md v0.6",
    "the jwt-bearer grant beside identity_endpoint", "Add urn:ietf:params:oauth:grant-type:jwt-bearer to the grants.";
AgentAuthEvents "agent-auth-events" Warning, "auth.md v0.6",
    "events_supported beside events_endpoint", "List the events, or take the endpoint out.";
ScannerMethod "scanner-method" Note, "Cloudflare agent-readiness scanner",
    "register_uri and a complete anonymous, verified_email or identity_assertion method",
    "Offer such a method to pass; other methods work, and the scanner does not know them.";
ScannerCanAgentUse "scanner-canagentuse" Note, "canagentuse.com auth-md 1.0.0",
    "register_uri, supported_identity_types and revocation_url", "Add these names if that grader matters to you.";

// auth.md
AuthMdMissing "auth-md-missing" Warning, "auth.md v0.6",
    "auth.md", "Serve auth.md at the URL that skill names, and at /auth.md.";
AuthMdHtml "auth-md-html" Error, "auth.md v0.6",
    "Markdown", "Serve the Markdown itself, not a page.";
AuthMdMediaType "auth-md-media-type" Warning, "RFC 7763 section 2",
    "Content-Type: text/markdown", "Send auth.md as text/markdown; charset=utf-8.";
AuthMdHeading "auth-md-heading" Note, "Cloudflare agent-readiness scanner",
    "a first heading that contains auth.md", "Begin with a heading such as “# auth.md: how an agent gets access”.";
AuthMdDeadUrl "auth-md-dead-url" Note, "ora.ai, auth.md v0.6",
    "URLs that answer GET or OPTIONS", "Correct or remove the URL; a route for POST only may be right.";
AuthMdUnmentioned "auth-md-unmentioned" Warning, "auth.md v0.6",
    "each endpoint of agent_auth in auth.md", "Say in auth.md what the endpoint is for.";

// MCP
McpPreflight "mcp-preflight" Note, "MCP hosts in browsers",
    "a preflight that allows POST with Authorization", "Answer OPTIONS outside of the guard.";
McpExpose "mcp-expose" Note, "MCP hosts in browsers",
    "WWW-Authenticate in Access-Control-Expose-Headers", "Expose WWW-Authenticate, or pages can't read the challenge.";
}

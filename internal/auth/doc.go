// Package auth says who a client is and what it may do: tokens, web origins, and how many
// connections one may have. It knows neither the hub nor a transport. docs/auth.md is for users.
//
// A [Verifier] turns a JSON Web Token into a [Principal], by the rules of RFC 8725: the algorithms
// are pinned, keys come from the configuration only, and every token expires. What a principal may
// do stands in the claim scopes:
//
//	streamkit::*                              every store, read and write
//	streamkit::<uuid>                         one store, read and write
//	streamhub::<uuid|*>::<space|*>::<read|write|*>
//	streamhub::<uuid|*>::<space|*>::<segment|prefix*>::<read|write|*>
//
// In the last two forms names are escaped as in a URL path.
package auth

// Package gitsync follows one branch of one git repository: it notices a new
// head, brings the objects here, has them judged and hands the verdict with its
// evidence to the log.
//
// Rules of the package:
//   - It decides nothing about trust. Judging is a Judge's, recording a Log's;
//     gitsync fetches, packs and remembers what it has said already.
//   - Nothing that a server or a webhook sends is believed. Objects are held to
//     their ids, packs to the Limits, a webhook's body is never read for meaning.
//   - The mirror is a cache. It may be removed at any time and is made again.
//   - Nothing of the host is used by accident: no git binary, no user's git or
//     ssh configuration, no agent, no checkout. Only the usual proxy variables
//     of the environment are honoured, for https.
//   - Idle costs one query of the refs per interval and no call of the Log.
package gitsync

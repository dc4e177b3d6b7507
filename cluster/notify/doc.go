// Package notify tells people what happens, where they look: commit statuses at
// the forge, and notifications to webhooks and chat.
//
// It runs on the leader, for a term. What is to be told is computed from the
// present state, as facts: a subject ("deployment/shop") and a value ("degraded
// at 1f2e…"). A fact whose value was not told last is told. What was told is
// recorded in the log as an event, so that a later leader does not say it again;
// one that was sent and not recorded, because the leader fell just then, is sent
// once more with the same id.
//
// Nothing waits for it: each receiver has a bounded queue and a goroutine of its
// own, where only the newest value of a subject stands. Errors are logged and
// retried and go nowhere else. No error text holds a secret, a receiver's URL
// included.
package notify

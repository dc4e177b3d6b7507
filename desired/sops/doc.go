// Package sops reads files that SOPS encrypted: it finds out what is in one
// without a key, and with the data key decrypts it and checks its MAC.
//
// Its rules:
//
//   - It is bytes in, value out. Nothing of the file is ever followed: no key
//     service, no key file, no environment variable, no command. How a data key
//     is unwrapped is the caller's business; only the entries for age are shown.
//   - The whole file is authentic or there is nothing: a value that was changed,
//     moved, added or removed without SOPS is ErrTampered.
//   - The metadata is closed. A field that this package does not know might say
//     that a value is to be read differently.
//   - No error and no String holds a value of the file, encrypted or not.
//   - Input is hostile until it was counted, as in package desired.
//
// SOPS' own packages are not used: they bring the clients of every cloud's key
// service along, and look for keys in the environment and in home directories.
// testdata holds files that SOPS itself made, and what it decrypts them to.
package sops

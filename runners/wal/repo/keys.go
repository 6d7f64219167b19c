package repo

import (
	"errors"
	"fmt"
	"strings"

	"filippo.io/age"
)

// Recipients reads public keys, as age-keygen prints them.
func Recipients(texts []string) (all []age.Recipient, err error) {
	for _, text := range texts {
		parsed, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("recipient %s: %w", text, err)
		}
		all = append(all, parsed...)
	}
	return all, nil
}

// Identities reads what age-keygen writes: private keys, a line each. The error does not
// quote them.
func Identities(text string) ([]age.Identity, error) {
	all, err := age.ParseIdentities(strings.NewReader(text))
	if err != nil {
		return nil, errors.New("this is no identity as age-keygen writes them")
	}
	return all, nil
}

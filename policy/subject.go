package policy

// Usable tells whether a request could name the subject: 1 to 256 of A-Z a-z 0-9 . _ : @ / + = -,
// of an account the 12 digits of an AWS account id.
func (s Subject) Usable() bool {
	if s.Kind == SubjectAccount && !s.knowable() {
		return false
	}
	return s.Kind != SubjectNone && usable(s.ID)
}

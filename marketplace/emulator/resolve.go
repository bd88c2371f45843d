package emulator

import "time"

// tokenLifetime is how long a registration token can be resolved, again and again with the same answer (AWS's
// documentation: 4 hours).
const tokenLifetime = 4 * time.Hour

// token is a registration token, as AWS's page posts it to the seller's.
type token struct {
	license *license
	expires time.Time
}

// resolveCustomer says whose registration a token is.
func (e *Emulator) resolveCustomer(c *call) (object, error) {
	in := newInput(c.in)
	var broken violations
	text := in.text("RegistrationToken")
	if broken.require(in, "registrationToken", "RegistrationToken") {
		broken.pattern("registrationToken", text, `[\s\S]+`, text != "")
	}
	if err := in.err(); err != nil {
		return nil, err
	}
	if err := broken.err(validationFailed); err != nil {
		return nil, err
	}
	t, ok := e.tokens[text]
	if !ok {
		return nil, refuse("InvalidTokenException", "Registration token is invalid.")
	}
	if !e.clock.now().Before(t.expires) {
		return nil, refuse("ExpiredTokenException", "The submitted registration token has expired.")
	}
	out := object{
		"CustomerAWSAccountId": t.license.account,
		"ProductCode":          t.license.product.Code,
		"Metadata":             object{"AgreementId": t.license.agreement.id},
	}
	addIfSet(out, "CustomerIdentifier", t.license.customer)
	addIfSet(out, "LicenseArn", t.license.arn)
	return out, nil
}

// addIfSet leaves out a member that AWS leaves unpopulated.
func addIfSet(out object, name, value string) {
	if value != "" {
		out[name] = value
	}
}

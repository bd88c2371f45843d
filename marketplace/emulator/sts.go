package emulator

import (
	"strconv"
	"strings"
	"time"
)

// STS: who calls, and temporary credentials.

const (
	stsInvalid = "ValidationError"
	// defaultSession and its bounds are AWS's for AssumeRole.
	defaultSession  = time.Hour
	shortestSession = 900    // seconds
	longestSession  = 43_200 // seconds
	maxSessions     = 10_000 // then a reset is due
	rolePattern     = "arn:aws:iam::<account>:role/<name>"
	sessionAlphabet = "_+=,.@-" // beside letters and digits
)

// session is what AssumeRole handed out.
type session struct {
	secret  string
	token   string
	expires time.Time // real time, like everything about signatures
}

func (e *Emulator) getCallerIdentity(*call) (object, error) {
	return object{
		"Account": sellerAccount,
		"Arn":     "arn:aws:iam::" + sellerAccount + ":user/seller",
		"UserId":  "AIDAEMULATOREMULATOR",
	}, nil
}

func (e *Emulator) assumeRole(c *call) (object, error) {
	in := newInput(c.in)
	role, name := in.text("RoleArn"), in.text("RoleSessionName")
	account, roleName, ok := parseRole(role)
	if !ok {
		return nil, refuse(stsInvalid, "%s is invalid: want %s", clip(role), rolePattern)
	}
	if len(name) < 2 || len(name) > 64 || !consists(name, sessionAlphabet) {
		return nil, refuse(stsInvalid, `Value '%s' at 'roleSessionName' failed to satisfy constraint: Member must satisfy `+
			`regular expression pattern: [\w+=,.@-]* and have length 2 to 64`, clip(name))
	}
	lasts, err := sessionLength(in)
	if err != nil {
		return nil, err
	}
	if len(e.sessions) >= maxSessions {
		return nil, refuse("Throttling", "The emulator holds %d sessions: POST /_control/reset", maxSessions)
	}
	key := "ASIA" + randomText(16, upperAlphanumeric)
	s := session{secret: randomHex(20), token: randomHex(32), expires: time.Now().Add(lasts)}
	e.sessions[key] = s
	return object{
		"Credentials": object{
			"AccessKeyId": key, "SecretAccessKey": s.secret, "SessionToken": s.token, "Expiration": epoch(s.expires),
		},
		"AssumedRoleUser": object{
			"AssumedRoleId": "AROA" + randomText(16, upperAlphanumeric) + ":" + name,
			"Arn":           "arn:aws:sts::" + account + ":assumed-role/" + roleName + "/" + name,
		},
	}, nil
}

// parseRole takes the ARN of a role apart; its name comes without the path.
func parseRole(arn string) (account, name string, ok bool) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "iam" || len(parts[4]) != 12 || !digitsOnly(parts[4]) {
		return "", "", false
	}
	if !strings.HasPrefix(parts[5], "role/") {
		return "", "", false
	}
	return parts[4], parts[5][strings.LastIndex(parts[5], "/")+1:], true
}

// sessionLength is how long the credentials shall be good.
func sessionLength(in input) (time.Duration, error) {
	if !in.has("DurationSeconds") {
		return defaultSession, nil
	}
	seconds, err := strconv.Atoi(in.text("DurationSeconds"))
	if err != nil || seconds < shortestSession || seconds > longestSession {
		return 0, refuse(stsInvalid, "DurationSeconds must be between %d and %d", shortestSession, longestSession)
	}
	return time.Duration(seconds) * time.Second, nil
}

package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
)

// page is what a buyer reads who could not be registered. It holds nothing that the
// request said.
type page struct {
	status int
	Title  string
	Do     string // what to do, in a sentence or two
}

// again is how a buyer gets a new token.
const again = "AWS Marketplace > Manage subscriptions, choose the product and then “Set up your account”"

// pageNoToken is for whoever brings no token; the status says what he brought instead.
func pageNoToken(status int) *page {
	return &page{status, "Please come from AWS Marketplace", "This page is opened by AWS Marketplace. Sign in to AWS, open " + again + "."}
}

func pageExpired() *page {
	return &page{
		http.StatusBadRequest, "This link from AWS Marketplace has expired",
		"Your purchase is not affected. Go back to " + again + ": that makes a new link.",
	}
}

func pageInvalid() *page {
	return &page{
		http.StatusBadRequest, "AWS Marketplace does not know this link",
		"Your purchase is not affected. Go back to " + again + ". If this page comes again, please write to the seller.",
	}
}

func pageUnavailable() *page {
	return &page{
		http.StatusServiceUnavailable, "AWS Marketplace does not answer at the moment",
		"Your purchase is not affected. Wait a minute, then load this page again, or go back to " + again + ".",
	}
}

// pageStyle is the only style; the policy of the page names its hash.
const pageStyle = `body{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem}`

// showPage answers with a page that runs nothing and loads nothing.
func showPage(w http.ResponseWriter, p *page) {
	t := template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{{.Title}}</title><style>` +
		pageStyle + `</style></head>
<body><h1>{{.Title}}</h1><p>{{.Do}}</p></body></html>
`))
	var body bytes.Buffer
	if err := t.Execute(&body, p); err != nil {
		fail(w, http.StatusServiceUnavailable, reasonFault, "Internal error.")
		return
	}
	harden(w)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(p.status)
	_, _ = w.Write(body.Bytes()) // a buyer who is gone reads nothing
}

// harden says what a browser may do with the answer: show it once.
func harden(w http.ResponseWriter) {
	style := sha256.Sum256([]byte(pageStyle))
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(style[:])+
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
}

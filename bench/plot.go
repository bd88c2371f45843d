package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// point is a point of a plot.
type point struct{ x, y float64 }

// line is a named line of a plot.
type line struct {
	name   string
	points []point
}

// plot is a chart of lines from zero upward.
type plot struct {
	title, x, y string
	logX        bool
	lines       []line
}

// The measures of a chart, in pixels.
const (
	plotWidth, plotHeight          = 640, 360
	marginLeft, marginRight        = 70, 160
	marginTop, marginBottom        = 40, 50
	innerWidth, innerHeight        = plotWidth - marginLeft - marginRight, plotHeight - marginTop - marginBottom
	ticks                          = 5
	ink, faint, paper       string = "#222", "#ddd", "#fff"
)

// colors tell the lines apart, on screens and in print (Okabe and Ito's palette).
func colors() []string { return []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7"} }

// svg draws the chart.
func (p *plot) svg() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" fill="%s">`+"\n", plotWidth, plotHeight, ink)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="%s"/>`+"\n", plotWidth, plotHeight, paper)
	text(&b, marginLeft, 22, "start", p.title)
	text(&b, marginLeft+innerWidth/2, plotHeight-10, "middle", p.x)
	fmt.Fprintf(&b, `<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", marginTop+innerHeight/2, html.EscapeString(p.y))
	p.grid(&b)
	for i, l := range p.lines {
		color := colors()[i%len(colors())]
		var path []string
		for _, at := range l.points {
			path = append(path, fmt.Sprintf("%.1f,%.1f", p.left(at.x), p.top(at.y)))
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", p.left(at.x), p.top(at.y), color)
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(path, " "), color)
		y := marginTop + 20*i + 10
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="14" height="4" fill="%s"/>`+"\n", plotWidth-marginRight+15, y-5, color)
		text(&b, plotWidth-marginRight+35, y, "start", l.name)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// grid draws the lines that y is read from, and where the points stand on x.
func (p *plot) grid(b *strings.Builder) {
	for i := range ticks + 1 {
		y := p.most() * float64(i) / ticks
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="%s"/>`+"\n", marginLeft, marginLeft+innerWidth, p.top(y), p.top(y), faint)
		text(b, marginLeft-6, int(p.top(y))+4, "end", short(y))
	}
	for _, x := range p.places() {
		text(b, int(p.left(x)), marginTop+innerHeight+18, "middle", short(x))
	}
}

// places are the x of all points.
func (p *plot) places() []float64 {
	var all []float64
	for _, l := range p.lines {
		for _, at := range l.points {
			all = append(all, at.x)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// most is what the y axis ends with.
func (p *plot) most() float64 {
	most := 0.0
	for _, l := range p.lines {
		for _, at := range l.points {
			most = max(most, at.y)
		}
	}
	if most == 0 {
		return 1
	}
	step := math.Pow(10, math.Floor(math.Log10(most/ticks)))
	for _, n := range []float64{1, 2, 2.5, 5, 10} {
		if n*step*ticks >= most {
			return n * step * ticks
		}
	}
	return most
}

func (p *plot) left(x float64) float64 {
	places := p.places()
	first, last := p.scale(places[0]), p.scale(places[len(places)-1])
	if first == last {
		return marginLeft + innerWidth/2
	}
	return marginLeft + innerWidth*(p.scale(x)-first)/(last-first)
}

func (p *plot) scale(x float64) float64 {
	if p.logX {
		return math.Log10(x)
	}
	return x
}

func (p *plot) top(y float64) float64 { return marginTop + innerHeight*(1-y/p.most()) }

func text(b *strings.Builder, x, y int, anchor, s string) {
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="%s">%s</text>`+"\n", x, y, anchor, html.EscapeString(s))
}

// short is a number with at least three digits that count.
func short(n float64) string {
	if n >= 1000 {
		return thousands(n)
	}
	return fmt.Sprintf("%.3g", n)
}

// thousands is a whole number with a comma before each three digits.
func thousands(n float64) string {
	s := fmt.Sprintf("%.0f", n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

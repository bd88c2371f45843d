package cache

import "github.com/weirhq/weir/policy"

// Trial notes what AWS told of a free trial, without a read: no decision depends on it. False: memory does not hold
// such a license of the product.
func (c *Cache) Trial(product string, key policy.Key, told policy.Trial) (known bool) {
	return c.tellTrial(product, policy.Subject{Kind: policy.SubjectLicense, ID: string(key)}, &told)
}

// tellTrial notes it in all licenses of the product that the subject holds.
func (c *Cache) tellTrial(product string, who policy.Subject, told *policy.Trial) (known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.edit()
	for _, l := range c.expected(&reading{target: target{product, who}}) {
		known = true
		r, ok := e.licenses.get(string(l.Key))
		if !ok || l.Trial != nil && !told.Told.After(l.Trial.Told) || !l.Ended.IsZero() {
			continue
		}
		next := *l
		next.Trial = told
		e.put(&record{license: &next, behind: r.behind, changed: r.changed})
	}
	if len(e.fresh) > 0 {
		c.publish(e)
	}
	return known
}
